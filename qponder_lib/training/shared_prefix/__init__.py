"""GRPO that runs image and prompt once per group of answers, with TRL's loss and gradients.

All answers of a group share image and prompt, yet TRL runs the vision tower and the whole prompt
once per answer: when sampling, for the policy and for the reference. Here a batch becomes one
packed sequence, every prompt once and then all answers, each of which attends to its own prompt and
to itself, at the positions it would have had.
"""

from qponder_lib.training.shared_prefix.trainer import SharedPrefixTrainer

__all__ = ["SharedPrefixTrainer"]
