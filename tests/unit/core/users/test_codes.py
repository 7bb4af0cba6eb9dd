from core.privacy.keys import MasterKey
from core.users.codes import OperatorCode, new_code, read_code


def test_every_process_knows_the_same_code_and_every_mneme_another() -> None:
    codes = [OperatorCode(MasterKey(secret * 32)).text for secret in (b"a", b"a", b"b")]
    assert codes[0] == codes[1] != codes[2]
    assert len(codes[0]) == 16
    assert codes[0].isalnum()


def test_the_code_is_read_kindly_and_nothing_else_is_right() -> None:
    operators = OperatorCode(MasterKey(b"a" * 32))
    code = operators.text
    assert all(operators.is_right(said) for said in (code, code.lower(), f" {code}\n"))
    wrong = ("", " ", code[:-1], code + "A", code[::-1], "é" * 16, "\ud800", "\x00", "0" * 10_000)
    assert not any(operators.is_right(said) for said in wrong)


def test_a_new_code_is_like_no_other_and_reads_as_it_is() -> None:
    codes = {new_code() for _ in range(100)}
    assert len(codes) == 100
    assert all(read_code(f" {code.lower()} ") == code and len(code) == 16 for code in codes)
