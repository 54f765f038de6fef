"""GRPO that runs image and prompt once per group of completions, with TRL's loss and gradients.

All completions of a group share image and prompt, yet TRL runs the vision tower and the whole
prompt once per completion: when sampling, for the policy and for the reference. Here a batch
becomes one packed sequence, every prompt once and then all completions, each of which attends to
its own prompt and to itself, at the positions it would have had.
"""
