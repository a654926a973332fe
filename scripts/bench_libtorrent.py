"""One end of a libtorrent transfer on loopback, for bench.ts.

    bench_libtorrent.py seed tcp|utp TORRENT DIRECTORY        prints {"port"}, then seeds
    bench_libtorrent.py get tcp|utp TORRENT DIRECTORY         prints {"port"}, waits for a line of ports, downloads
                                                              from there, prints {"seconds"}

Both go on until standard input ends.
"""
import json
import sys
import time

import libtorrent


def open_session(transport):
    uses_utp = transport == "utp"
    return libtorrent.session({
        "listen_interfaces": "127.0.0.1:0",
        "enable_dht": False,
        "enable_lsd": False,
        "enable_upnp": False,
        "enable_natpmp": False,
        "enable_incoming_utp": uses_utp,
        "enable_outgoing_utp": uses_utp,
        "enable_incoming_tcp": not uses_utp,
        "enable_outgoing_tcp": not uses_utp,
        "in_enc_policy": 2,
        "out_enc_policy": 2,
        "allow_multiple_connections_per_ip": True,
        "alert_mask": 0,
    })


def add(session, torrent, directory, is_there):
    parameters = libtorrent.add_torrent_params()
    parameters.ti = libtorrent.torrent_info(torrent)
    parameters.save_path = directory
    parameters.flags &= ~(libtorrent.torrent_flags.paused | libtorrent.torrent_flags.auto_managed)
    if is_there:
        parameters.flags |= libtorrent.torrent_flags.seed_mode
    return session.add_torrent(parameters)


def tell(**what):
    print(json.dumps(what), flush=True)


def download(session, torrent, directory):
    ports = [int(port) for port in sys.stdin.readline().split()]
    started_at = time.monotonic()
    handle = add(session, torrent, directory, False)
    while not handle.status().is_seeding:
        # Who isn't there yet refuses, and would be asked again only after a minute.
        connected = {peer.ip[1] for peer in handle.get_peer_info()}
        for port in ports:
            if port not in connected:
                handle.connect_peer(("127.0.0.1", port))
        for _ in range(20):
            if handle.status().is_seeding:
                break
            time.sleep(0.005)
    tell(seconds=time.monotonic() - started_at)
    return handle


def main(mode, transport, torrent, directory):
    session = open_session(transport)
    if mode == "seed":
        handle = add(session, torrent, directory, True)
        tell(port=session.listen_port())
    else:
        tell(port=session.listen_port())
        handle = download(session, torrent, directory)
    sys.stdin.read()
    tell(uploaded=handle.status().total_payload_upload)


main(*sys.argv[1:])
