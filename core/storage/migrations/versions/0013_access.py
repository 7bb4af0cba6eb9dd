"""Access: doors and their owners, invitations, requests to be let in, blocked people."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def _user(column: str, table: str, *, ondelete: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], ["users.id"], name=f"fk_{table}_{column}", ondelete=ondelete)


def upgrade() -> None:
    op.add_column("users", sa.Column("admitted_by", sa.String(16)))
    op.add_column("users", sa.Column("blocked_at", sa.DateTime(timezone=True)))
    op.add_column("users", sa.Column("told_on", sa.Date()))
    op.add_column("conversations", sa.Column("door_shown_on", sa.Date()))
    op.create_table(
        "doors",
        sa.Column("channel", sa.String(32), nullable=False),
        sa.Column("workspace", sa.String(64), nullable=False),
        sa.Column("mode", sa.String(16)),
        sa.Column("owner_id", sa.String(32)),
        sa.Column("claimed_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("channel", "workspace", name="pk_doors"),
        _user("owner_id", "doors", ondelete="SET NULL"),
    )
    op.create_index("ix_doors_owner_id", "doors", ["owner_id"])
    op.create_table(
        "invites",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("code_digest", sa.String(64), nullable=False),
        sa.Column("made_by", sa.String(32)),
        sa.Column("channel", sa.String(32)),
        sa.Column("workspace", sa.String(64)),
        sa.Column("uses_left", sa.Integer(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_invites"),
        sa.UniqueConstraint("code_digest", name="uq_invites_code_digest"),
        _user("made_by", "invites", ondelete="CASCADE"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_invites_made_by", "invites", ["made_by"])
    op.create_table(
        "admission_requests",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("user_id", sa.String(32), nullable=False),
        sa.Column("channel", sa.String(32), nullable=False),
        sa.Column("workspace", sa.String(64), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("told", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_admission_requests"),
        sa.UniqueConstraint("user_id", name="uq_admission_requests_user_id"),
        _user("user_id", "admission_requests", ondelete="CASCADE"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "wrong_codes",
        sa.Column("user_id", sa.String(32), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name="pk_wrong_codes"),
        _user("user_id", "wrong_codes", ondelete="CASCADE"),
    )


def downgrade() -> None:
    for table in ("wrong_codes", "admission_requests", "invites", "doors"):
        op.drop_table(table)
    op.drop_column("conversations", "door_shown_on")
    for column in ("told_on", "blocked_at", "admitted_by"):
        op.drop_column("users", column)
