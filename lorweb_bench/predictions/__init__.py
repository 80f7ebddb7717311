"""What a method answered: its folder of images, written and read."""
