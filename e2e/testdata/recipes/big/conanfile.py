"""A package whose archive does not shrink, for transfers that take a while."""

import os
import random

from conan import ConanFile


class Big(ConanFile):
    name = "big"
    version = "1.0"

    def package(self):
        noise = random.Random("SEED")
        with open(os.path.join(self.package_folder, "noise"), "wb") as f:
            for _ in range(MEGABYTES):
                f.write(noise.getrandbits(8 * 1024 * 1024).to_bytes(1024 * 1024, "little"))
