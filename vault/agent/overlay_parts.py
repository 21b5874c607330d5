"""What a manager tells of overlay networks in parts, put together: a network is made known whole, or not at all.

Pure.  Called by `vault.agent.worker`.
"""

from vault.model.overlay import OverlayChange, OverlayEncryption, OverlayEndpoint


def merged(first: OverlayChange | None, then: OverlayChange) -> OverlayChange:
    """Return the one change that does what two in a row do.

    A network that is removed in it as well as put begins anew.
    """
    if first is None or then.full:
        return then
    gone = {*then.remove_networks}
    endpoints = {_key(one): one for one in first.put_endpoints if one.network_id not in gone}
    gone_endpoints = dict.fromkeys(key for key in first.remove_endpoints if key[0] not in gone)
    for key in then.remove_endpoints:
        endpoints.pop(key, None)
        gone_endpoints[key] = None
    for endpoint in then.put_endpoints:
        endpoints[_key(endpoint)] = endpoint
        gone_endpoints.pop(_key(endpoint), None)
    services = {(one.network_id, one.service_id): one for one in first.put_services if one.network_id not in gone}
    gone_services = dict.fromkeys(name for name in first.remove_services if name[0] not in gone)
    for name in then.remove_services:
        services.pop(name, None)
        gone_services[name] = None
    for service in then.put_services:
        services[service.network_id, service.service_id] = service
        gone_services.pop((service.network_id, service.service_id), None)
    kept = {network.id: network for network in first.put_networks if network.id not in gone}
    return OverlayChange(
        full=first.full,
        put_networks=tuple((kept | {network.id: network for network in then.put_networks}).values()),
        remove_networks=tuple(dict.fromkeys((*first.remove_networks, *then.remove_networks))),
        put_endpoints=tuple(endpoints.values()),
        remove_endpoints=tuple(gone_endpoints),
        put_services=tuple(services.values()),
        remove_services=tuple(gone_services),
        encryption=_merged_encryption(first.encryption, then.encryption),
    )


def _key(endpoint: OverlayEndpoint) -> tuple[str, str, str]:
    return endpoint.network_id, endpoint.task_id, endpoint.node_id


def _merged_encryption(first: OverlayEncryption | None, then: OverlayEncryption | None) -> OverlayEncryption | None:
    if first is None or then is None or then.full:
        return then or first
    peers = {peer.node_id: peer for peer in first.put_peers if peer.node_id not in then.remove_peers}
    peers |= {peer.node_id: peer for peer in then.put_peers}
    gone = dict.fromkeys((*first.remove_peers, *then.remove_peers))
    return OverlayEncryption(
        full=first.full,
        own=then.own,
        put_peers=tuple(peers.values()),
        remove_peers=tuple(node_id for node_id in gone if node_id not in peers),
    )
