"""A package with settings, options, exported files and sources, among them names with spaces and other letters."""

import os

from conan import ConanFile
from conan.tools.files import copy, load, save


class Lib(ConanFile):
    name = "lib"
    version = "1.0"
    settings = "os", "arch", "compiler", "build_type"
    options = {"shared": [True, False], "flavour": ["plain", "sweet"]}
    default_options = {"shared": False, "flavour": "plain"}
    exports = "LICENSE", "notes/*"
    exports_sources = "src/*"

    def build(self):
        text = load(self, os.path.join(self.source_folder, "src", "lib.c"))
        save(self, "lib.out", text + str(self.options.shared) + str(self.options.flavour))

    def package(self):
        copy(self, "*.h", os.path.join(self.source_folder, "src"), os.path.join(self.package_folder, "include"))
        copy(self, "lib.out", self.build_folder, os.path.join(self.package_folder, "lib"))
        save(self, os.path.join(self.package_folder, "res", "two words.txt"), "two words")
        save(self, os.path.join(self.package_folder, "res", "größe.txt"), "Größe")
        save(self, os.path.join(self.package_folder, "res", "empty"), "")
