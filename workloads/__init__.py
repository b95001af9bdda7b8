"""The models people ask about: seed denoisers, samplers, ANN twins, training and bundled checkpoints."""
