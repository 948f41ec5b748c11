"""What a person says of the relations of a table."""

from dataclasses import dataclass

from backstory.data.tables.relations import Relation

ALL = "all"


@dataclass(frozen=True)
class Wishes:
    """Relations that a person gives or refuses.

    Attributes:
        constraints: relations that hold, see `constraints`.
        without: relations that are not to be taken, as printed, columns that take part in none, or `all`.
    """

    constraints: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    @property
    def searched(self) -> bool:
        """Whether relations are looked for."""
        return ALL not in self.without

    def refuses(self, relation: Relation) -> bool:
        """Whether a relation is not to be taken."""
        return relation.text in self.without


NO_WISHES = Wishes()
