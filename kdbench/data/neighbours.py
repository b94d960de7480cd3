"""A(x): the classes that are near an image's own, for the anisotropic losses. Data, each with its digest.

On CIFAR-100 they are the other classes of the same superclass, as the official coarse labels have it
(tests/data/test_neighbours.py holds the table against the labels of all 60,000 images). On CUB-200-2011
they are the classes whose names end in the same word: the albatrosses.
"""

import re
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from kdbench import catalog
from kdbench.data import packed
from kdbench.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


CIFAR100 = {
    "aquatic_mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food_containers": "bottle bowl can cup plate",
    "fruit_and_vegetables": "apple mushroom orange pear sweet_pepper",
    "household_electrical_devices": "clock keyboard lamp telephone television",
    "household_furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large_carnivores": "bear leopard lion tiger wolf",
    "large_man-made_outdoor_things": "bridge castle house road skyscraper",
    "large_natural_outdoor_scenes": "cloud forest mountain plain sea",
    "large_omnivores_and_herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium_mammals": "fox porcupine possum raccoon skunk",
    "non-insect_invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small_mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles_1": "bicycle bus motorcycle pickup_truck train",
    "vehicles_2": "lawn_mower rocket streetcar tank tractor",
}
"""The superclasses in the order of the coarse labels, each with its classes. Fine labels are alphabetical."""
_BIRDS = """
Black_footed_Albatross Laysan_Albatross Sooty_Albatross Groove_billed_Ani Crested_Auklet Least_Auklet
Parakeet_Auklet Rhinoceros_Auklet Brewer_Blackbird Red_winged_Blackbird Rusty_Blackbird
Yellow_headed_Blackbird Bobolink Indigo_Bunting Lazuli_Bunting Painted_Bunting Cardinal Spotted_Catbird
Gray_Catbird Yellow_breasted_Chat Eastern_Towhee Chuck_will_Widow Brandt_Cormorant Red_faced_Cormorant
Pelagic_Cormorant Bronzed_Cowbird Shiny_Cowbird Brown_Creeper American_Crow Fish_Crow Black_billed_Cuckoo
Mangrove_Cuckoo Yellow_billed_Cuckoo Gray_crowned_Rosy_Finch Purple_Finch Northern_Flicker
Acadian_Flycatcher Great_Crested_Flycatcher Least_Flycatcher Olive_sided_Flycatcher
Scissor_tailed_Flycatcher Vermilion_Flycatcher Yellow_bellied_Flycatcher Frigatebird Northern_Fulmar
Gadwall American_Goldfinch European_Goldfinch Boat_tailed_Grackle Eared_Grebe Horned_Grebe
Pied_billed_Grebe Western_Grebe Blue_Grosbeak Evening_Grosbeak Pine_Grosbeak Rose_breasted_Grosbeak
Pigeon_Guillemot California_Gull Glaucous_winged_Gull Heermann_Gull Herring_Gull Ivory_Gull
Ring_billed_Gull Slaty_backed_Gull Western_Gull Anna_Hummingbird Ruby_throated_Hummingbird
Rufous_Hummingbird Green_Violetear Long_tailed_Jaeger Pomarine_Jaeger Blue_Jay Florida_Jay Green_Jay
Dark_eyed_Junco Tropical_Kingbird Gray_Kingbird Belted_Kingfisher Green_Kingfisher Pied_Kingfisher
Ringed_Kingfisher White_breasted_Kingfisher Red_legged_Kittiwake Horned_Lark Pacific_Loon Mallard
Western_Meadowlark Hooded_Merganser Red_breasted_Merganser Mockingbird Nighthawk Clark_Nutcracker
White_breasted_Nuthatch Baltimore_Oriole Hooded_Oriole Orchard_Oriole Scott_Oriole Ovenbird Brown_Pelican
White_Pelican Western_Wood_Pewee Sayornis American_Pipit Whip_poor_Will Horned_Puffin Common_Raven
White_necked_Raven American_Redstart Geococcyx Loggerhead_Shrike Great_Grey_Shrike Baird_Sparrow
Black_throated_Sparrow Brewer_Sparrow Chipping_Sparrow Clay_colored_Sparrow House_Sparrow Field_Sparrow
Fox_Sparrow Grasshopper_Sparrow Harris_Sparrow Henslow_Sparrow Le_Conte_Sparrow Lincoln_Sparrow
Nelson_Sharp_tailed_Sparrow Savannah_Sparrow Seaside_Sparrow Song_Sparrow Tree_Sparrow Vesper_Sparrow
White_crowned_Sparrow White_throated_Sparrow Cape_Glossy_Starling Bank_Swallow Barn_Swallow Cliff_Swallow
Tree_Swallow Scarlet_Tanager Summer_Tanager Artic_Tern Black_Tern Caspian_Tern Common_Tern Elegant_Tern
Forsters_Tern Least_Tern Green_tailed_Towhee Brown_Thrasher Sage_Thrasher Black_capped_Vireo
Blue_headed_Vireo Philadelphia_Vireo Red_eyed_Vireo Warbling_Vireo White_eyed_Vireo Yellow_throated_Vireo
Bay_breasted_Warbler Black_and_white_Warbler Black_throated_Blue_Warbler Blue_winged_Warbler
Canada_Warbler Cape_May_Warbler Cerulean_Warbler Chestnut_sided_Warbler Golden_winged_Warbler
Hooded_Warbler Kentucky_Warbler Magnolia_Warbler Mourning_Warbler Myrtle_Warbler Nashville_Warbler
Orange_crowned_Warbler Palm_Warbler Pine_Warbler Prairie_Warbler Prothonotary_Warbler Swainson_Warbler
Tennessee_Warbler Wilson_Warbler Worm_eating_Warbler Yellow_Warbler Northern_Waterthrush
Louisiana_Waterthrush Bohemian_Waxwing Cedar_Waxwing American_Three_toed_Woodpecker Pileated_Woodpecker
Red_bellied_Woodpecker Red_cockaded_Woodpecker Red_headed_Woodpecker Downy_Woodpecker Bewick_Wren
Cactus_Wren Carolina_Wren House_Wren Marsh_Wren Rock_Wren Winter_Wren Common_Yellowthroat
"""
CUB200 = tuple(f"{number:03}.{name}" for number, name in enumerate(_BIRDS.split(), 1))
"""The classes of CUB-200-2011, in the order of the labels, as its `classes.txt` has them."""
Groups = list[list[str]]
"""Classes by name, those near each other together."""


def cifar100() -> Groups:
    """CIFAR-100's fine classes: 20 groups of 5."""
    return [classes.split() for classes in CIFAR100.values()]


def cub200() -> Groups:
    """CUB-200-2011's classes by the last word of their names."""
    groups: dict[str, list[str]] = {}
    for name in CUB200:
        groups.setdefault(re.split(r"[._]", name)[-1], []).append(name)
    return list(groups.values())


def neighbours(dataset: str) -> "Tensor":
    """A(x) of a data set of the catalog, held against the catalog's digest.

    Returns:
        uint8 (K, K): row y has a 1 at each class that is near class y, itself not among them.

    Raises:
        UserError: the data set has none, or they are not those of the digest.
    """
    near = matrix(groups(dataset))
    if digest(near) != (known := packed.entry(dataset).neighbours_digest):
        raise UserError(
            f"{dataset}: the neighbours A(x) have the digest {digest(near)}, the catalog says {known}; "
            "the code or the catalog was changed: install kdbench again"
        )
    return near


def groups(dataset: str) -> Groups:
    """The groups of a data set of the catalog.

    Raises:
        UserError: it has none.
    """
    entry = packed.entry(dataset)
    if not entry.neighbours:
        raise UserError(f"{dataset} has no neighbours A(x); these have: {', '.join(_having())}")
    with catalog.naming_package("datasets", dataset):
        found: Groups = catalog.load(entry.neighbours)()
    return found


def named(dataset: str) -> dict[str, list[str]]:
    """Each class of a data set, in the order of the labels, with the names of its neighbours.

    Raises:
        UserError: the data set has none.
    """
    found = {}
    for group in groups(dataset):
        for name in group:
            found[name] = [other for other in group if other != name]
    return dict(sorted(found.items()))


def described(dataset: str) -> dict[str, Any]:
    """What `kdbench data neighbours` prints: `sha256` of the matrix, `neighbours` by name.

    Raises:
        UserError: the data set has none.
    """
    return {"sha256": digest(neighbours(dataset)), "neighbours": named(dataset)}


def matrix(of: Groups) -> "Tensor":
    """uint8 (K, K): a 1 where two different classes share a group; classes are numbered alphabetically."""
    import torch

    names = sorted(name for group in of for name in group)
    group = {name: number for number, members in enumerate(of) for name in members}
    label = torch.tensor([group[name] for name in names])
    return (label[:, None] == label).to(torch.uint8).fill_diagonal_(0)


def digest(near: "Tensor") -> str:
    """The sha256 of the matrix, row by row, a byte each."""
    return sha256(near.contiguous().numpy().tobytes()).hexdigest()


def _having() -> list[str]:
    return [name for name, each in catalog.entries("datasets").items() if each.neighbours]
