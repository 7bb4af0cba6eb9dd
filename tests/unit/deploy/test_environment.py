import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_a_python_without_venv_is_told_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    script = Path(shutil.copy(ROOT / "deploy" / "environment.py", tmp_path / "deploy"))
    # As on a Debian without python3-venv.
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['ensurepip'] = None")
    told = subprocess.run(
        [sys.executable, script, "runtime"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert told.returncode == 1
    assert "apt install python3-venv" in told.stderr
    assert not (tmp_path / ".venv").exists()
