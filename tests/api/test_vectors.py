"""Our answers against those of a real engine, exchange by exchange."""

import pytest

from tests.api.client import Daemon
from tests.api.replay import Replay, comparable, exchanges

# Where we differ on purpose: origin -> status and text.
DIFFERENT = {
    # No plugins yet: refused at once, and as the caller's mistake.
    "02-secrets.jsonl, exchange 96": (400, 'plugin "bogusdriver" not found'),
    # A newer API.
    "02-secrets.jsonl, exchange 143": (400, "client version 1.99 is too new. Maximum supported API version is 1.50"),
    # Bad input is a 400 in newer engines, too.
    "02-secrets.jsonl, exchange 148": (400, "invalid character 'b' looking for beginning of object key string"),
    # Services in the order of their names.
    "03-service-secret.jsonl, exchange 185": (400, "is in use by the following services: web, web2"),
    "03-service-secret.jsonl, exchange 188": (400, "is in use by the following services: web, web2"),
}
# What a recording begins with: name, its id there, labels.
BEFORE = {
    "services": (
        ("my_secret_data", "r6zp4hjdxr8ttqnupaakt55nj", {}),
        ("my_file_secret", "kwew43x1nz34osxohfvq8ihhp", {"env": "prod"}),
        ("my_secret_v2", "xu1tmj6xggy7qugot4p6o1us9", {}),
        ("t1", "5lmaiwql8ntzubxp1lmsk3ihd", {}),
    ),
    "stack": (("ext_root_pw", "tyj2nealih7jx5zep3vv1ypfh", {}),),
}


@pytest.mark.parametrize("name", ["secrets", "swarm", "services", "stack", "lamp", "leave"])
def test_answers_are_those_of_a_real_engine(name: str) -> None:
    daemon = Daemon() if name == "swarm" else Daemon().with_swarm()
    replay = Replay(daemon)
    for secret, recorded_id, labels in BEFORE.get(name, ()):
        posted = {"Name": secret, "Data": "eA==", "Labels": labels}
        replay.ids[recorded_id] = daemon.post("/secrets/create", posted).json()["ID"]
    for exchange in exchanges(name):
        status, reply = replay.send(exchange)
        if exchange.origin in DIFFERENT:
            expected_status, text = DIFFERENT[exchange.origin]
            assert status == expected_status
            assert text in reply["message"]
            continue
        assert status == exchange.status, (exchange, reply)
        assert comparable(reply) == comparable(replay.expected(exchange)), exchange.origin
