#!/bin/sh
# What teams wrap Alembic in: it passes its arguments on.
exec "${ALEMBIC:-alembic}" "$@"
