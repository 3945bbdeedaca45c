"""What lets ndif 0.1.2 serve models without a GPU and without the hub: the parts that its settings let others replace.

It lies on the path of the host's processes alone, which have ndif and nothing of this project.
"""
