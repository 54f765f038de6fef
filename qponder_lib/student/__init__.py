"""The student: a hub model, or the small Qwen2.5-VL that ships with the kit."""
