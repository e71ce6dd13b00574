"""Training: simulated data, supervised fine-tuning, GRPO and TL-GRPO, GGUF export, evaluation.

Installed as ``acs_assistant.training``; needs the ``train`` extra.
"""
