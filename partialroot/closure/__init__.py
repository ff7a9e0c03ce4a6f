"""What programs need at run time, found by reading files through a Tree and never by running them."""

from partialroot.closure.result import Closure, Object
from partialroot.closure.walk import Wanted, closure

__all__ = ["Closure", "Object", "Wanted", "closure"]
