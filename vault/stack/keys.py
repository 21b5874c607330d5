"""The keys of a compose file, version 3.0 to 3.13: what may stand where, and since when.

Data only; read by `vault.stack.schema`.  `since=4` means: from version 3.4 on.
Source: the Compose file reference, version 3, and Docker's schemas of each version, compared with its client.
Stricter than those in one way: where Docker lets an unknown key pass and then ignores it (below a secret's or a
volume's long form), it is refused.  Wider in one way: `depends_on` has the Compose specification's long form, too.
"""

from vault.model.depends import Condition
from vault.stack.forms import is_duration, is_port
from vault.stack.schema import Format, Items, Json, Key, Keys, OneOf, Plain, Type

_DURATION = Format(name="duration", accepts=is_duration)
_PORTS = Format(name="ports", accepts=is_port)

STRING = Plain(types=(Json.STRING,))
INTEGER = Plain(types=(Json.INTEGER,))
NUMBER = Plain(types=(Json.NUMBER,))
BOOLEAN = Plain(types=(Json.BOOLEAN,))
DURATION = Plain(types=(Json.STRING,), format=_DURATION)
STRINGS = Items(item=STRING, unique=True)
STRING_OR_STRINGS = OneOf(alternatives=(STRING, STRINGS))
WORDS = OneOf(alternatives=(STRING, Items(item=STRING)))
PAIRS = OneOf(
    alternatives=(
        Keys(others=Plain(types=(Json.STRING, Json.NUMBER, Json.NULL)), pattern=r"(?s).+"),
        STRINGS,
    )
)
OPTIONS = Keys(others=Plain(types=(Json.STRING, Json.NUMBER)), pattern=r".+")


def _keys(since: int = 0, /, **types: Type) -> tuple[Key, ...]:
    """Return keys that appeared in version 3.`since`."""
    return tuple(Key(name=name, type=type_, since=since) for name, type_ in types.items())


DEPENDS_ON = OneOf(
    alternatives=(
        STRINGS,
        Keys(
            others=Keys(
                keys=_keys(
                    condition=Plain(types=(Json.STRING,), choices=tuple(one.value for one in Condition)),
                    required=BOOLEAN,
                    restart=BOOLEAN,
                ),
                required=("condition",),
            )
        ),
    )
)
BUILD = OneOf(
    alternatives=(
        STRING,
        Keys(
            keys=(
                *_keys(context=STRING, dockerfile=STRING, args=PAIRS),
                *_keys(2, cache_from=STRINGS),
                *_keys(3, labels=PAIRS),
                *_keys(4, network=STRING, target=STRING),
                *_keys(5, shm_size=Plain(types=(Json.INTEGER, Json.STRING))),
                *_keys(9, extra_hosts=PAIRS),
            ),
            open_since=11,
        ),
    )
)
FILE_REFERENCE = OneOf(
    alternatives=(STRING, Keys(keys=_keys(source=STRING, target=STRING, uid=STRING, gid=STRING, mode=NUMBER)))
)
HEALTHCHECK = Keys(
    keys=(
        *_keys(disable=BOOLEAN, interval=DURATION, retries=NUMBER, test=WORDS, timeout=DURATION),
        *_keys(4, start_period=DURATION),
        *_keys(12, start_interval=DURATION),
    )
)
LOGGING = Keys(
    keys=_keys(
        driver=STRING,
        options=Keys(others=Plain(types=(Json.STRING, Json.NUMBER, Json.NULL)), pattern=r".+"),
    )
)
SERVICE_NETWORK = OneOf(
    alternatives=(
        Keys(
            keys=(
                *_keys(aliases=STRINGS, ipv4_address=STRING, ipv6_address=STRING),
                *_keys(13, driver_opts=OPTIONS),
            )
        ),
        Plain(types=(Json.NULL,)),
    )
)
PORTS_UNTIL_3_1 = Items(item=Plain(types=(Json.STRING, Json.NUMBER), format=_PORTS), unique=True)
PORTS = Items(
    item=OneOf(
        alternatives=(
            Plain(types=(Json.NUMBER,), format=_PORTS),
            Plain(types=(Json.STRING,), format=_PORTS),
            Keys(keys=_keys(mode=STRING, target=INTEGER, published=INTEGER, protocol=STRING)),
        )
    ),
    unique=True,
)
ULIMIT = OneOf(alternatives=(INTEGER, Keys(keys=_keys(hard=INTEGER, soft=INTEGER), required=("soft", "hard"))))
VOLUMES = Items(
    item=OneOf(
        alternatives=(
            STRING,
            Keys(
                keys=(
                    *_keys(
                        type=STRING,
                        source=STRING,
                        target=STRING,
                        read_only=BOOLEAN,
                        consistency=STRING,
                        bind=Keys(keys=_keys(propagation=STRING)),
                        volume=Keys(keys=_keys(nocopy=BOOLEAN, subpath=STRING)),
                    ),
                    *_keys(6, tmpfs=Keys(keys=_keys(size=Plain(types=(Json.INTEGER,), minimum=0)))),
                ),
                required=("type",),
            ),
        )
    )
)

_CHANGE_KEYS = _keys(
    parallelism=INTEGER, delay=DURATION, failure_action=STRING, monitor=DURATION, max_failure_ratio=NUMBER
)
_ORDER = Plain(types=(Json.STRING,), choices=("start-first", "stop-first"))
_GENERIC_RESOURCE = Keys(keys=_keys(discrete_resource_spec=Keys(keys=_keys(kind=STRING, value=NUMBER))))
RESOURCES = Keys(
    keys=_keys(
        limits=Keys(keys=(*_keys(cpus=STRING, memory=STRING), *_keys(9, pids=INTEGER))),
        reservations=Keys(
            keys=(*_keys(cpus=STRING, memory=STRING), *_keys(5, generic_resources=Items(item=_GENERIC_RESOURCE)))
        ),
    )
)
PLACEMENT = Keys(
    keys=(
        *_keys(constraints=Items(item=STRING)),
        *_keys(3, preferences=Items(item=Keys(keys=_keys(spread=STRING)))),
        *_keys(8, max_replicas_per_node=INTEGER),
    )
)
DEPLOY = Keys(
    keys=(
        *_keys(
            mode=STRING,
            replicas=INTEGER,
            labels=PAIRS,
            update_config=Keys(keys=(*_CHANGE_KEYS, *_keys(4, order=_ORDER))),
            resources=RESOURCES,
            restart_policy=Keys(keys=_keys(condition=STRING, delay=DURATION, max_attempts=INTEGER, window=DURATION)),
            placement=PLACEMENT,
        ),
        *_keys(2, endpoint_mode=STRING),
        *_keys(7, rollback_config=Keys(keys=(*_CHANGE_KEYS, *_keys(order=_ORDER)))),
    ),
    types=(Json.OBJECT, Json.NULL),
)
SERVICE = Keys(
    keys=(
        *_keys(
            deploy=DEPLOY,
            build=BUILD,
            cap_add=STRINGS,
            cap_drop=STRINGS,
            cgroup_parent=STRING,
            command=WORDS,
            container_name=STRING,
            depends_on=DEPENDS_ON,
            devices=STRINGS,
            dns=STRING_OR_STRINGS,
            dns_search=STRING_OR_STRINGS,
            domainname=STRING,
            entrypoint=WORDS,
            env_file=STRING_OR_STRINGS,
            environment=PAIRS,
            expose=Items(item=Plain(types=(Json.STRING, Json.NUMBER)), unique=True),
            external_links=STRINGS,
            extra_hosts=PAIRS,
            healthcheck=HEALTHCHECK,
            hostname=STRING,
            image=STRING,
            ipc=STRING,
            labels=PAIRS,
            links=STRINGS,
            logging=LOGGING,
            mac_address=STRING,
            network_mode=STRING,
            networks=OneOf(alternatives=(STRINGS, Keys(others=SERVICE_NETWORK))),
            pid=Plain(types=(Json.STRING, Json.NULL)),
            privileged=BOOLEAN,
            read_only=BOOLEAN,
            restart=STRING,
            security_opt=STRINGS,
            shm_size=Plain(types=(Json.NUMBER, Json.STRING)),
            stdin_open=BOOLEAN,
            stop_grace_period=DURATION,
            stop_signal=STRING,
            sysctls=PAIRS,
            tmpfs=STRING_OR_STRINGS,
            tty=BOOLEAN,
            ulimits=Keys(others=ULIMIT, pattern=r"[a-z]+"),
            user=STRING,
            userns_mode=STRING,
            working_dir=STRING,
        ),
        Key(name="ports", type=PORTS_UNTIL_3_1, until=2),
        Key(name="ports", type=PORTS, since=2),
        Key(name="volumes", type=STRINGS, until=2),
        Key(name="volumes", type=VOLUMES, since=2),
        *_keys(1, secrets=Items(item=FILE_REFERENCE)),
        *_keys(3, configs=Items(item=FILE_REFERENCE)),
        Key(name="credential_spec", type=Keys(keys=_keys(file=STRING, registry=STRING)), since=3, until=8),
        *_keys(5, isolation=STRING),
        *_keys(7, init=BOOLEAN),
        *_keys(8, credential_spec=Keys(keys=_keys(config=STRING, file=STRING, registry=STRING))),
        *_keys(9, cgroupns_mode=STRING),
        *_keys(13, oom_score_adj=INTEGER),
    ),
    extensions_since=7,
)

EXTERNAL = Keys(keys=_keys(name=STRING), types=(Json.BOOLEAN, Json.OBJECT))
NETWORK = Keys(
    keys=(
        *_keys(
            driver=STRING,
            driver_opts=OPTIONS,
            ipam=Keys(keys=_keys(driver=STRING, config=Items(item=Keys(keys=_keys(subnet=STRING))))),
            external=EXTERNAL,
            internal=BOOLEAN,
            labels=PAIRS,
        ),
        *_keys(2, attachable=BOOLEAN),
        *_keys(5, name=STRING),
    ),
    extensions_since=7,
    types=(Json.OBJECT, Json.NULL),
)
VOLUME = Keys(
    keys=(*_keys(driver=STRING, driver_opts=OPTIONS, external=EXTERNAL, labels=PAIRS), *_keys(4, name=STRING)),
    extensions_since=7,
    types=(Json.OBJECT, Json.NULL),
)
_FILE_OBJECT_KEYS = (*_keys(file=STRING, external=EXTERNAL, labels=PAIRS), *_keys(5, name=STRING))
SECRET = Keys(
    keys=(*_FILE_OBJECT_KEYS, *_keys(8, driver=STRING, driver_opts=OPTIONS, template_driver=STRING)),
    extensions_since=7,
)
CONFIG = Keys(keys=(*_FILE_OBJECT_KEYS, *_keys(8, template_driver=STRING)), extensions_since=7)

DOCUMENT = Keys(
    keys=(
        *_keys(
            version=STRING,
            services=Keys(others=SERVICE),
            networks=Keys(others=NETWORK),
            volumes=Keys(others=VOLUME),
        ),
        *_keys(1, secrets=Keys(others=SECRET)),
        *_keys(3, configs=Keys(others=CONFIG)),
    ),
    extensions_since=4,
)
