"""Which images belong together: manifests, layouts, subject splits, preparation, augmentation."""
