"""What a process needs to keep up with a person's words: the newest, and whether some were taken back."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "users", sa.Column("memory_revision", sa.Integer(), server_default=sa.text("0"), nullable=False)
    )
    for table in ("messages", "memories"):
        op.create_index(f"ix_{table}_user", table, ["user_id", "id"])
        op.drop_index(f"ix_{table}_user_id", table_name=table)


def downgrade() -> None:
    for table in ("messages", "memories"):
        op.create_index(f"ix_{table}_user_id", table, ["user_id"])
        op.drop_index(f"ix_{table}_user", table_name=table)
    op.drop_column("users", "memory_revision")
