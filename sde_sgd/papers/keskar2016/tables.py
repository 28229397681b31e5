"""Small against large batches on two networks: tables 2 to 4, figures 3 and 7, distances, the shape of the minimum."""

from typing import TYPE_CHECKING, Any

from sde_sgd.analysis import Claim, Relation
from sde_sgd.papers.keskar2016 import paths, sharpness
from sde_sgd.papers.keskar2016.batches import LARGE, SMALL, pair
from sde_sgd.papers.keskar2016.measures import EPSILON
from sde_sgd.papers.keskar2016.networks import NETWORKS, digit_images, setting
from sde_sgd.papers.keskar2016.paired import difference, ratio
from sde_sgd.papers.keskar2016.size import Size
from sde_sgd.papers.paper import Findings

if TYPE_CHECKING:
    import xarray

# What the paper finds: SB - LB in points of test accuracy.
_GAPS = {"F1": 0.22, "C1": 2.78}


def small_and_large(size: Size, key: Any) -> Findings:
    """Compare the two batch sizes by everything that the paper compares them by."""
    import xarray

    claims, rows = [], []
    images = digit_images()
    for name in size.networks:
        case = setting(NETWORKS[name], images)
        for optimiser in size.optimisers:
            label = f"{name}, {optimiser}"
            found = pair(case, optimiser, (SMALL, LARGE), size.num_seeds, key)
            data = found.measures
            claims += comparison(label, name, data)
            if optimiser == "SGD":
                table, curves = sharpness.table(found, size.num_tables, key), paths.along_paths(found, size.num_tables)
                table["steep_share"] = sharpness.steep_shares(found, size.num_tables)
                claims += [*sharpness.claims(name, table, data), *paths.claims(name, curves),
                           *sharpness.spectrum_claims(name, table.steep_share)]
                data = xarray.merge([data, table, curves], join="outer")
            rows.append(data.expand_dims(case=[label]))
    together = xarray.merge(rows, join="outer", compat="no_conflicts")
    labels = [str(row.case.item()) for row in rows]
    return Findings(claims, together.sel(case=labels).assign_coords(case=labels))


def comparison(label: str, name: str, measures: "xarray.Dataset") -> list[Claim]:
    """Return the claims about accuracy, curvature and distance."""
    small, large = (measures.isel(batch_size=place) for place in (0, 1))
    return [
        ratio(f"{label}: control, training loss SB / LB, to 20 %", "equal loss", small.train_loss, large.train_loss,
              relation=Relation.WITHIN, tolerance=0.2),
        difference(f"{label}: test accuracy SB - LB in points (paper: {_GAPS[name]:g})", "Table 2",
                   100 * small.test_accuracy, 100 * large.test_accuracy),
        ratio(f"{label}: sharpness LB / SB, full, {EPSILON:g}", "Table 3", large.sharpness, small.sharpness),
        ratio(f"{label}: largest eigenvalue LB / SB", "Sec. 2.2.2", large.top_eigenvalue, small.top_eigenvalue),
        ratio(f"{label}: trace of the Hessian LB / SB", "Sec. 2.2.2", large.trace, small.trace),
        ratio(f"{label}: distance from the start SB / LB", "Sec. 2.2", small.distance, large.distance),
        ratio(f"{label}: the same, at least 3 (paper: 3 to 10)", "Sec. 2.2", small.distance, large.distance,
              theory=3.0),
    ]
