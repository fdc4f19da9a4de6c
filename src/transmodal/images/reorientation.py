"""Images of one grid whose files keep their axes in another order or direction: a DICOM series and its NIfTI labels."""

from dataclasses import replace

from nibabel import orientations

from transmodal.images.image import Image, require_same_grid


def turned_onto(image: Image, like: Image) -> Image:
    """Return an image with its array axes in the order and direction of another's; no value is changed.

    Args:
        image: on the grid of `like` but for order and direction of its axes; of pictures, in the same order.
        like: only its grid is looked at.

    Raises:
        UserError: the grids differ in more than that.
    """
    if image.same_grid(like) or image.spatial_dims != 3 or like.spatial_dims != 3:
        require_same_grid(like, image)
        return image
    own, wanted = (orientations.io_orientation(each.affine) for each in (image, like))
    turn = orientations.ornt_transform(own, wanted)
    pixels = orientations.apply_orientation(image.pixels, turn)
    turned = replace(image, pixels=pixels, affine=image.affine @ orientations.inv_ornt_aff(turn, image.shape))
    require_same_grid(like, turned)
    return turned
