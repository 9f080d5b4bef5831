import math

import pytest
import torch

from toys import draw
from vaebench.nn.tokenizers.neighbours import Neighbours, _batched, nearest


def slow_kth(points, queries, ranks):
    """Distances by their definition, sorted one query at a time."""
    rows = []
    for query in queries.double().tolist():
        distances = sorted(math.dist(query, point) for point in points.double().tolist())
        rows.append([distances[rank - 1] for rank in ranks])
    return torch.tensor(rows)


def kth_distances(points, queries, ranks):
    return Neighbours(points).kth(queries, ranks)


class TestKthDistances:
    @pytest.mark.parametrize("search", [kth_distances, _batched])
    @pytest.mark.parametrize(("count", "width"), [(40, 3), (300, 5), (25, 16)])
    def test_is_the_loop(self, search, count, width):
        points, queries = draw(count, width), draw(30, width, seed=1)
        found = search(points, queries, (1, 8, 25))
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, slow_kth(points, queries, (1, 8, 25)), rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("search", [kth_distances, _batched])
    def test_repeated_points_are_no_trouble(self, search):
        points = torch.cat([torch.zeros(50, 4), draw(20, 4)])
        found = search(points, torch.zeros(3, 4), (8, 50, 51))
        assert found[:, :2].eq(0).all()
        torch.testing.assert_close(found[:, 2], points[50:].norm(dim=1).min().expand(3))

    def test_points_near_each_other_far_from_the_origin_are_told_apart(self):
        points = draw(100, 4) * 1e-3 + 1000
        for search in (kth_distances, _batched):
            torch.testing.assert_close(
                search(points, points[:10], (2, 9)), slow_kth(points, points[:10], (2, 9)), rtol=1e-4, atol=0
            )

    def test_parts_of_a_batch_give_the_same(self, monkeypatch):
        points, queries = draw(60, 3), draw(17, 3, seed=1)
        whole = _batched(points, queries, (3, 9))
        monkeypatch.setattr("vaebench.nn.tokenizers.neighbours._BATCH", 5 * 60)
        assert torch.equal(_batched(points, queries, (3, 9)), whole)

    def test_a_diverged_query_has_no_distance(self):
        queries = draw(4, 3)
        queries[1, 2], queries[3, 0] = torch.nan, torch.inf
        found = kth_distances(draw(30, 3), queries, (1, 8))
        assert found.isnan().all(dim=1).tolist() == [False, True, False, True]

    def test_a_search_does_not_move_with_its_points(self):
        points, queries = draw(50, 3), draw(5, 3, seed=1)
        near = Neighbours(points)
        before = near.kth(queries, (4,))
        points.zero_()
        assert torch.equal(near.kth(queries, (4,)), before)


class TestNearest:
    @pytest.mark.parametrize(("codes", "width"), [(7, 2), (256, 3), (1500, 5)])
    def test_is_the_loop(self, codes, width):
        points, queries = draw(codes, width), draw(400, width, seed=1)
        found = nearest(points, queries)
        best = torch.stack([(query - points).double().norm(dim=1).min() for query in queries])
        chosen = (queries - points[found]).double().norm(dim=1)
        torch.testing.assert_close(chosen, best, rtol=1e-5, atol=1e-6)
        assert found.dtype == torch.int64

    def test_small_codes_far_from_the_queries(self):
        points = draw(64, 4) / 16384
        queries = 3 * draw(200, 4, seed=1)
        exact = torch.cdist(queries.double(), points.double()).argmin(dim=1)
        assert (nearest(points, queries) == exact).float().mean() > 0.99

    def test_the_first_of_equals(self):
        points = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
        assert nearest(points, torch.tensor([[0.0, 2.0]])).tolist() == [1]
