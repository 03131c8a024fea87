"""What a process keeps of the nodes of a shard."""

from __future__ import annotations

import gc

from wireproto.core.topology import NodeView, ShardView
from wireproto.server.node_endpoint import NodeEndpoint
from wireproto.server.shard_links import ShardLinks
from wireproto.settings import Settings


def node(port: int) -> NodeView:
    return NodeView(f"127.0.0.1:{port}", f"redis://127.0.0.1:{port}")


def endpoints() -> int:
    gc.collect()
    # `isinstance` would ask objects of other libraries what they are, and some answer by doing something.
    return sum(type(thing) is NodeEndpoint for thing in gc.get_objects())


async def test_of_replicas_that_come_and_go_nothing_is_kept() -> None:
    before = endpoints()
    links = ShardLinks(ShardView("s", node(1)), Settings(), lambda life: None, lambda: None)
    for port in range(2, 200):
        links.update(ShardView("s", node(1), (node(port), node(port + 1))))
    assert endpoints() - before == 3
    assert [len(lane.replicas) for lane in links.lanes] == [2]
