"""The checksum of System V: that of sum(1) on illumos, and of its packages (libpkg, cverify.c)."""


class SysvSum:
    """The sum of all bytes modulo 2**32, its halves added. To be used like an object of hashlib."""

    def __init__(self) -> None:
        self._sum = 0

    def update(self, data: bytes) -> None:
        """Add more bytes."""
        self._sum += sum(data)

    def value(self) -> int:
        """Return the checksum: a number of 16 bits."""
        total = self._sum & 0xFFFFFFFF
        total = (total & 0xFFFF) + (total >> 16)
        return (total & 0xFFFF) + (total >> 16)

    def hexdigest(self) -> str:
        """Return the checksum in hexadecimal: four digits."""
        return f"{self.value():04x}"
