"""What a build decides before it makes an image: sources, splits, tiers, transformations."""
