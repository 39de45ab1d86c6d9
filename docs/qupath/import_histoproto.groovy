/*
 * Adds the regions that histoproto has predicted to every slide of the open project.
 *
 * Looks for OUT/<slide name>/regions.geojson.gz (or regions.geojson), adds its annotations to the slide of that name and
 * saves the slide's data. Run it once with "Run" (not with "Run for project": it visits all slides by itself).
 * Slides that already have regions of histoproto are left alone unless replace is true. Needs QuPath 0.4 or later.
 */
import qupath.lib.io.PathIO

def outputs = new File("/path/to/out")  // the folder given to histoproto predict --out
def replace = false                     // true: remove earlier regions of histoproto first, edited ones too

def project = getProject()
if (project == null) {
    println "Open a project first"
    return
}
if (!outputs.isDirectory()) {
    println "No such folder: " + outputs + "; change 'outputs' at the top of the script"
    return
}

// histoproto writes a measurement that QuPath does not
def ofHistoproto = { it.isAnnotation() && it.getMeasurementList().containsKey("Mean confidence") }

// a slide's file may be called otherwise than its entry in the project, for example after renaming
def namesOf = { entry ->
    def files = entry.getURIs().collect { new File(it.getPath()).getName() }
    def names = files + [entry.getOriginalImageName()]
    (names.collect { it.replaceFirst(/\.[^.]*$/, "") } + names).unique()
}

def regionsOf = { entry ->
    def files = namesOf(entry).collectMany { name ->
        ["regions.geojson.gz", "regions.geojson"].collect { new File(new File(outputs, name), it) }
    }
    files.find { it.isFile() }
}

int slides = 0
int missing = 0
for (entry in project.getImageList()) {
    def file = regionsOf(entry)
    if (file == null) {
        println "no regions: " + entry.getImageName() + " (looked for " + namesOf(entry).join(", ") + ")"
        missing++
        continue
    }
    def isOpen = getProjectEntry() == entry
    def imageData = isOpen ? getCurrentImageData() : entry.readImageData()
    def hierarchy = imageData.getHierarchy()
    def earlier = hierarchy.getAnnotationObjects().findAll(ofHistoproto)
    if (earlier && !replace) {
        println "left alone: " + entry.getImageName() + " has " + earlier.size() + " regions already"
    } else {
        def regions = PathIO.readObjects(file)
        hierarchy.removeObjects(earlier, true)
        hierarchy.addObjects(regions)
        entry.saveImageData(imageData)
        println "added " + regions.size() + " regions: " + entry.getImageName()
        slides++
    }
    if (!isOpen) {
        imageData.getServer().close()
    }
}
println slides + " slides have new regions, " + missing + " had no file in " + outputs
