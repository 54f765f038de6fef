"""What models are asked and what they wrote: prompts, parsing, SFT rows, assertions."""
