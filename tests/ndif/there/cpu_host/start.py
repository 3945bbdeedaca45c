"""Ray's own command, with patience: python -m cpu_host.start start --head ..."""

from ray.scripts.scripts import main

from cpu_host.patience import have_patience

if __name__ == "__main__":
    have_patience()
    main()
