"""Pause and incognito: what is said then isn't kept."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for column in ("paused_at", "resumed_at"):
        op.add_column("users", sa.Column(column, sa.DateTime(timezone=True)))
    op.add_column("conversations", sa.Column("incognito_at", sa.DateTime(timezone=True)))
    op.add_column("turns", sa.Column("kept", sa.Boolean(), server_default=sa.true(), nullable=False))
    op.create_index(
        "ix_turns_unkept",
        "turns",
        ["user_id"],
        sqlite_where=sa.text("kept = 0"),
        postgresql_where=sa.text("NOT kept"),
    )


def downgrade() -> None:
    turns = sa.table("turns", sa.column("kept", sa.Boolean()))
    op.execute(turns.delete().where(~turns.c.kept))
    op.drop_index("ix_turns_unkept", table_name="turns")
    op.drop_column("turns", "kept")
    op.drop_column("conversations", "incognito_at")
    for column in ("resumed_at", "paused_at"):
        op.drop_column("users", column)
