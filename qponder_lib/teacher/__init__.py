"""Teachers: whatever looks at an image and writes the reasoning that is distilled.

Two exist: an offline expert system that measures the pixels (`expert`), and any model behind an
OpenAI-compatible server (`chat_client`, which serves the judges too). `distill` asks either about
every image of a set; `responses` keeps what was answered.
"""
