"""One contender a file: a runtime at the version that is compared, run as its own documentation says to run it fastest.

PACKAGES: what pip installs into its environment, in this order; none for the project's own. NOT: precision -> why there is no such cell.
convert(folder, precision): makes what `load` wants in folder/NAME from what runtime_comparison.nets wrote into folder.
load(folder, precision, threads) -> Loaded. Both run in the contender's environment, which has numpy and lacks edgecnn; heavy imports are inside.
"""
