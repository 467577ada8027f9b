"""What looks like a picture or a video by its suffix, whether it is read or not.

What is read is in `IMAGE_SUFFIXES` and `RAW_SUFFIXES`; of the rest a walk counts the files.
"""


def _suffixes(*lines: str) -> frozenset[str]:
    return frozenset(f".{word}" for line in lines for word in line.split())


PICTURES = _suffixes(
    # Cameras' own, beyond those that are read.
    "ari bay cap cine cs1 dc2 drf dsc eip fff gpr j6i k25 kc2 mdc ptx pxn qtk raw rdc rwz x3f",
    # Formats for photos.
    "apng avifs bpg flif hdp heics heif heifs icb insp j2c j2k jhc jls jng jp2 jpc jpf jph "
    "jpm jps jpt jpx jxl jxr mng mpo pam pbm pcd pfm pgm pjp pjpeg pnm pns ppm qoi tga vda "
    "vst wdp webp2 wp2",
    # Editors' own.
    "afphoto clip cpt kra ora pdd pdn procreate psb psd psp pspimage pxd pxm pxr xcf",
    # Film, science and medicine.
    "cin dcm dicom dpx exr fit fits fts hdr mrxs ndpi nitf ntf sgi svs",
    # Older systems' and graphics.
    "bw cur dcx dds djv djvu emf eps fax fpx g3 ham icns ico iff ilbm jb2 jbig jbig2 lbm pcc "
    "pct pcx pic pict pix ras rgb rgba rle sun svg svgz wbmp wmf xbm xpm xwd",
)
VIDEOS = _suffixes(
    "264 265 360 3g2 3gp 3gpp amv asf avchd avi braw crm dav divx dv f4v flv gifv h264 h265 "
    "hevc insv ivf lrv m1v m2p m2t m2ts m2v m4v mjpeg mjpg mk3d mkv mlv mod mov mp4 mp4v mpe "
    "mpeg mpg mpv mts mxf nut ogm ogv ogx qt r3d rm rmvb swf tod vob vro webm wmv wtv y4m yuv",
)
LOOK_ALIKES = PICTURES | VIDEOS
