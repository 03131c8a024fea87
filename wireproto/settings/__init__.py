"""The server's settings: declared once, read from flags, the environment and a TOML file, in this order of precedence.

    declaration   every setting: its names, its default, its meaning; what contradicts what; the documentation's table
    kinds         how a value is read from text, checked and shown
    nodes         the shards whose Redis nodes run already
    node_urls     the URLs of those nodes, and of Sentinels
    namespace_numbers   a number for each of some namespaces
    sources       the command line, the environment and the file, and which of them goes first

Secrets have no flag and no TOML key: a command line can be read by every user of the machine.
"""

from wireproto.settings.declaration import SETTINGS, Setting, SettingError, Settings, settings_table
from wireproto.settings.nodes import ShardAddress
from wireproto.settings.sources import parse

__all__ = ["SETTINGS", "Setting", "SettingError", "Settings", "ShardAddress", "parse", "settings_table"]
