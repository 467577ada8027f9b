"""Places whose URL names a host, which `UPath` leaves out of their names."""

from __future__ import annotations

from upath import UPath
from upath.extensions import ProxyUPath


class HostedPath(ProxyUPath):
    """A place whose name says where it is, so that it is found again by it."""

    __slots__ = ()

    def __str__(self) -> str:
        """Its whole URL, with user and password where they were given."""
        options, path = self.storage_options, self.path
        if "account_name" in options:
            container, _, rest = path.partition("/")
            account = options["account_name"]
            return f"{self.protocol}://{container}@{account}.dfs.core.windows.net/{rest}"
        user = options.get("username", "")
        if options.get("password"):
            user += f":{options['password']}"
        port = f":{options['port']}" if options.get("port") else ""
        host = f"{user}@{options['host']}{port}" if user else f"{options['host']}{port}"
        return f"{self.protocol}://{host}/{path.lstrip('/')}"

    @staticmethod
    def is_needed(place: UPath) -> bool:
        """Whether a place's own name leaves out a part of where it is."""
        return not place.storage_options.keys().isdisjoint(("host", "account_name"))
