"""Consent to remember special categories of data, and that somebody was told what is kept."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("informed_at", sa.DateTime(timezone=True)))
    op.add_column("users", sa.Column("special_consent", sa.Boolean()))
    op.add_column("users", sa.Column("special_asked_in", sa.Integer()))


def downgrade() -> None:
    for column in ("special_asked_in", "special_consent", "informed_at"):
        op.drop_column("users", column)
