"""A package that requires a range of another one."""

import os

from conan import ConanFile
from conan.tools.files import save


class App(ConanFile):
    name = "app"
    version = "1.0"
    settings = "os", "arch"
    requires = "REQUIREMENT"

    def package(self):
        save(self, os.path.join(self.package_folder, "bin", "app"), "app")
