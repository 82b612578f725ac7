"""Captioned pictures: opening them, checking them, and packing them into one array to train on.

sources     recognises one of three layouts: `folder` (plain files, imagefolder) or `shards` (webdataset)
entry       what a layout gives: entries and problems
transforms  decoding, transparency, cropping and scaling of one picture
decoding    many pictures in parallel, in order
sample      statistics of a few of them, to plan with
check       facts about all of them, for the `report`
packing     `check_and_pack`: the report and the packed `pictures` in one pass, written by `pack_files`
content     which pictures have the same pixels
order       which pictures come next in training
named       the built-in sets: `digits` (handwriting) and `shapes` (drawn, with an exact checker in `shapes_check`)
"""
