from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from zen_pipeline.training.optimizer import MuonAdamW, orthogonalize


def pair(shape: tuple[int, int]) -> tuple[nn.Parameter, nn.Parameter]:
    parameter = nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(1)))
    return parameter, nn.Parameter(parameter.detach().clone())


@pytest.mark.parametrize("shape", [(16, 16), (48, 16), (16, 48)])
def test_matrices_move_as_muon_moves_them(shape: tuple[int, int]) -> None:
    ours, theirs = pair(shape)
    other = nn.Parameter(torch.ones(3))
    settings = {"learning_rate": 0.02, "embedding_learning_rate": 0.01, "weight_decay": 0.1}
    mine = MuonAdamW([ours], [other], **settings, orthogonalize_in=torch.float32)
    momentum, reference = torch.zeros(shape), theirs.detach()
    for step in range(5):
        grad = torch.randn(shape, generator=torch.Generator().manual_seed(step))
        ours.grad, other.grad = grad.clone(), torch.ones(3)
        mine.step()
        momentum = 0.95 * momentum + 0.05 * grad
        update = orthogonalize((0.05 * grad + 0.95 * momentum)[None])[0]  # Nesterov's
        reference = (1 - 0.02 * 0.1) * reference - 0.02 * max(1, shape[0] / shape[1]) ** 0.5 * update
    torch.testing.assert_close(ours.detach(), reference, rtol=0, atol=1e-5)


def test_the_rest_moves_as_under_torchs_adamw() -> None:
    ours, theirs = pair((20, 8))
    mine = MuonAdamW([], [ours], learning_rate=0.02, embedding_learning_rate=0.01, weight_decay=0.1)
    reference = torch.optim.AdamW([theirs], lr=0.01, betas=(0.9, 0.95), eps=1e-10, weight_decay=0.0)
    for step in range(5):
        grad = torch.randn(ours.shape, generator=torch.Generator().manual_seed(step))
        ours.grad, theirs.grad = grad.clone(), grad.clone()
        mine.step()
        reference.step()
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(24, 72), (72, 24), (1, 8)])
def test_orthogonalized_matrices_keep_their_singular_vectors_and_lose_their_values(
    shape: tuple[int, int], dtype: torch.dtype
) -> None:
    matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(2))
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    assert (orthogonalize(matrices.to(dtype)).float() - u @ v).norm(dim=(1, 2)).max() < 0.25 * min(shape) ** 0.5
    values = torch.linalg.svdvals(orthogonalize(matrices.to(dtype)).float())
    assert 0.9 < values.min() < values.max() < 1.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_orthogonalized_square_matrices_point_where_the_nearest_orthogonal_ones_do(dtype: torch.dtype) -> None:
    square = torch.randn(64, 64, generator=torch.Generator().manual_seed(4))
    u, _, v = torch.linalg.svd(square)
    decaying = u @ torch.diag(1.0 / torch.arange(1, 65)) @ v
    for matrix, least in ((square, 0.95), (decaying, 0.85)):
        found = orthogonalize(matrix[None].to(dtype))[0].float()
        assert torch.cosine_similarity(found.flatten(), (u @ v).flatten(), dim=0) > least


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_direction_grows_beyond_one(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(3)
    few = torch.randn(40, 2, generator=generator) @ torch.randn(2, 64, generator=generator)
    noisy = few + 1e-3 * torch.randn(40, 64, generator=generator)
    for matrix in (few, noisy, 1e-12 * noisy, torch.zeros(40, 64), torch.ones(40, 64)):
        assert torch.linalg.svdvals(orthogonalize(matrix[None].to(dtype)).float()).max() < 1.1


def test_the_state_survives_saving_and_loading() -> None:
    first, second = pair((8, 8))
    third, fourth = pair((8, 4))
    settings = {"learning_rate": 0.02, "embedding_learning_rate": 0.01, "weight_decay": 0.1}
    one, two = MuonAdamW([first], [third], **settings), MuonAdamW([second], [fourth], **settings)

    def go(optimizer: MuonAdamW, a: nn.Parameter, b: nn.Parameter, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        a.grad, b.grad = torch.randn(8, 8, generator=generator), torch.randn(8, 4, generator=generator)
        optimizer.set_factor(0.5)
        optimizer.step()

    go(one, first, third, 0)
    second.data.copy_(first.data)
    fourth.data.copy_(third.data)
    two.load_state_dict(copy.deepcopy(one.state_dict()))
    go(one, first, third, 1)
    go(two, second, fourth, 1)
    assert torch.equal(first, second)
    assert torch.equal(third, fourth)


@pytest.mark.parametrize("threads", [2, 3])
def test_matrices_that_are_shared_out_among_cores_get_the_same_updates(threads: int) -> None:
    shapes = [(8, 4), (4, 4), (4, 8), (4, 4), (8, 4), (4, 4), (8, 4)]
    found = []
    before = torch.get_num_threads()
    for count in (1, threads):
        torch.set_num_threads(count)
        generator = torch.Generator().manual_seed(0)
        matrices = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
        optimizer = MuonAdamW(matrices, [], learning_rate=0.02, embedding_learning_rate=0.01, weight_decay=0.1)
        for _ in range(3):
            for matrix in matrices:
                matrix.grad = torch.randn(matrix.shape, generator=generator)
            optimizer.step()
        found.append(matrices)
    torch.set_num_threads(before)
    for alone, shared in zip(*found, strict=True):
        torch.testing.assert_close(alone, shared, rtol=1e-5, atol=1e-6)
