"""Tables 2 and 3 on images of one's own: F1 and C1 at B = 0.8 % and 10 % of the examples."""

from typing import Any

from sde_sgd.analysis import Claim, Relation
from sde_sgd.papers.keskar2016.batches import pair
from sde_sgd.papers.keskar2016.measures import stacked
from sde_sgd.papers.keskar2016.networks import NETWORKS, file_images, setting
from sde_sgd.papers.keskar2016.size import Size
from sde_sgd.papers.keskar2016.tables import comparison
from sde_sgd.papers.paper import Findings

_SHARES = (0.008, 0.1)


def image_file(size: Size, key: Any) -> Findings:
    """Compare the two batch sizes with SGD on the images of ``size.data``, if there is such a file."""
    import xarray

    if size.data is None:
        return Findings([Claim(f"{name} on images of 28 x 28 or 32 x 32 pixels: test accuracy SB - LB in points",
                               "Table 2", 0.0, None, relation=Relation.ABOVE,
                               note="no image file was given: pass --data PATH.") for name in size.networks],
                        xarray.Dataset())
    images = file_images(size.data, size.num_train, size.num_test)
    small, large = (max(round(share * size.num_train), 1) for share in _SHARES)
    claims, rows = [], []
    for name in size.networks:
        found = pair(setting(NETWORKS[name], images), "SGD", (small, large), size.num_seeds, key)
        claims += comparison(f"{name}, SGD, image file, B = {small} and {large}", name, found.measures)
        rows.append(found.measures)
    return Findings(claims, stacked(rows, "network", size.networks))
