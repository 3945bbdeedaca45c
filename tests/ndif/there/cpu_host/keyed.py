"""ndif's API with keys: its own rules of who may ask, over a table of one key in place of a Postgres database."""

import os

from ndif.common.providers.postgres import PostgresProvider

KEY = os.environ["CAA_TEST_KEY"]


async def _fetch(query, key_id):
    return [{"user_id": "1", "email": "somebody@example.org", "user_tag": "trusted"}] if str(key_id) == KEY else []


PostgresProvider.enabled = classmethod(lambda cls: True)
PostgresProvider.fetch = staticmethod(_fetch)

from ndif.services.api.app import app  # noqa: E402, F401  # what gunicorn serves
