"""What a person corrects, pins and mutes in their memory."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "memories", sa.Column("is_correction", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    op.add_column("memories", sa.Column("pinned_at", sa.DateTime(timezone=True)))
    op.add_column("memories", sa.Column("muted_at", sa.DateTime(timezone=True)))


def downgrade() -> None:
    for column in ("muted_at", "pinned_at", "is_correction"):
        op.drop_column("memories", column)
