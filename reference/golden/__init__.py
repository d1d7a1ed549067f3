"""Golden files: tensors computed by PyTorch, diffusers, transformers and ImageReward for the project's tests."""
