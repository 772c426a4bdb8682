import os

from conan import ConanFile
from conan.tools.files import save


class Selected(ConanFile):
    settings = "os", "arch", "compiler", "build_type"
    options = {"shared": [True, False], "flavour": ["plain", "sweet"]}
    default_options = {"shared": False, "flavour": "plain"}

    def requirements(self):
        if self.name == "app":
            self.requires("zlib/[>=1.2 <2]")

    def package(self):
        save(self, os.path.join(self.package_folder, "round"), os.environ["ROUND"])
