"""Where the index has a user's entries: among others', alone, or on the way."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("index_place", sa.String(16), server_default="shared", nullable=False))


def downgrade() -> None:
    op.drop_column("users", "index_place")
