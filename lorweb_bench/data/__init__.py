"""The dataset contract: samples, images, shards, manifests, and the training loader."""
