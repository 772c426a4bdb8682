"""A package with symlinks: to a file, to a file through another link, to a folder, and one that leads nowhere."""

import os

from conan import ConanFile
from conan.tools.files import save


class Links(ConanFile):
    name = "links"
    version = "1.0"
    settings = "os"

    def package(self):
        lib = os.path.join(self.package_folder, "lib")
        save(self, os.path.join(lib, "liblinks.so.1.2.3"), "library")
        os.symlink("liblinks.so.1.2.3", os.path.join(lib, "liblinks.so.1"))
        os.symlink("liblinks.so.1", os.path.join(lib, "liblinks.so"))
        save(self, os.path.join(self.package_folder, "include", "links-1.2", "links.h"), "int links;")
        os.symlink("links-1.2", os.path.join(self.package_folder, "include", "links"))
