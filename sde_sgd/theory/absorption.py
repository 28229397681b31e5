r"""Expected rewards of an absorbing Markov chain, solved without a single subtraction.

A chain that escapes once in 10^n steps has I - P singular to n digits, and ordinary elimination loses them. The
algorithm of Grassmann, Taksar and Heyman never forms 1 - P_ii: it works on the rates of *leaving* each state, all
positive, so that every digit survives whatever the barrier.
"""

import numpy as np
from jaxtyping import Float

_BLOCK = 64


def expected_reward(
    transition: Float[np.ndarray, "states states"],
    absorption: Float[np.ndarray, " states"],
    reward: Float[np.ndarray, "states rewards"],
) -> Float[np.ndarray, "states rewards"]:
    """Return the solution of (I - P) u = r, where P's rows and the absorption probabilities add up to 1.

    Parameters
    ----------
    transition
        P between the transient states; its diagonal is not looked at.
    absorption
        The probability of leaving them in one step, from each.
    reward
        r. Ones give the mean number of steps, the probabilities of leaving into a set give its committor.
    """
    rates, absorption, reward = transition.copy(), absorption.copy(), reward.copy()
    blocks = [slice(first, first + _BLOCK) for first in range(0, len(rates), _BLOCK)]
    visits = []
    for block in blocks:  # eliminate the block: what is left is the chain watched outside of it
        rest = slice(block.stop, None)
        leaving = absorption[block] + np.sum(rates[block, rest], axis=1)
        visits.append(_by_state(rates[block, block], leaving, np.eye(len(leaving))))
        detour = rates[rest, block] @ visits[-1]
        rates[rest, rest] += detour @ rates[block, rest]
        absorption[rest] += detour @ absorption[block]
        reward[rest] += detour @ reward[block]
    for block, visited in zip(reversed(blocks), reversed(visits), strict=True):
        reward[block] = visited @ (reward[block] + rates[block, block.stop:] @ reward[block.stop:])
    return reward


def _by_state(rates: np.ndarray, absorption: np.ndarray, reward: np.ndarray) -> np.ndarray:
    """Return the same, state by state."""
    rates, absorption, reward = rates.copy(), absorption.copy(), reward.copy()
    leaving = np.empty_like(absorption)
    for state in range(len(rates)):
        rest = slice(state + 1, None)
        leaving[state] = absorption[state] + np.sum(rates[state, rest])
        detour = rates[rest, state] / leaving[state]
        rates[rest, rest] += np.outer(detour, rates[state, rest])
        absorption[rest] += detour * absorption[state]
        reward[rest] += np.outer(detour, reward[state])
    for state in reversed(range(len(rates))):
        reward[state] = (reward[state] + rates[state, state + 1:] @ reward[state + 1:]) / leaving[state]
    return reward
