"""PreResQ-R1's rewards: five terms, the image and the video total, and the format rewards.

`released` is what the authors' published code computes on complete batches. `repaired`, the
default, has the same formulas, uses every aspect and is defined where the release is not: few
images or answers, equal labels, ties, unread answers (decisions D43 to D46).
"""

from qponder_lib.rewards.preresq.arrays import Mode, scores_of
from qponder_lib.rewards.preresq.preference import pairwise_score_rank, triplet_ranking
from qponder_lib.rewards.preresq.response import response_balance, response_truth_rank, std_penalty
from qponder_lib.rewards.preresq.totals import (
    UNREAD_IMAGE_REWARD,
    UNREAD_VIDEO_REWARD,
    PreResqRewards,
    image_format_reward,
    image_rewards,
    video_format_reward,
    video_rewards,
)

__all__ = [
    "UNREAD_IMAGE_REWARD",
    "UNREAD_VIDEO_REWARD",
    "Mode",
    "PreResqRewards",
    "image_format_reward",
    "image_rewards",
    "pairwise_score_rank",
    "response_balance",
    "response_truth_rank",
    "scores_of",
    "std_penalty",
    "triplet_ranking",
    "video_format_reward",
    "video_rewards",
]
