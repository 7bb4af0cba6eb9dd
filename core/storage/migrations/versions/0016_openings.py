"""Openings: memories that their person lets a group know."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "openings",
        sa.Column("memory_id", sa.String(32), nullable=False),
        sa.Column("conversation_id", sa.String(32), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["memory_id"], ["memories.id"], name="fk_openings_memory_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["conversation_id"], ["conversations.id"], name="fk_openings_conversation_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("memory_id", "conversation_id", name="pk_openings"),
    )
    op.create_index("ix_openings_conversation_id", "openings", ["conversation_id"])


def downgrade() -> None:
    op.drop_table("openings")
