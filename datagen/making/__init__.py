"""From a plan to quadruplets: panels, transformed images, filters."""
