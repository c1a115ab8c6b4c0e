# SPDX-License-Identifier: Apache-2.0
"""hiero.core as far as a take needs it. Wrong calls fail: an item without a source, times that do not fit, names that are unknown."""


class MediaSource:
    def __init__(self, path):
        if "####" in path:
            raise RuntimeError("MediaSource wants %04d")
        self._path, self._start = path, 0

    def fileinfos(self):
        return [_FileInfo(self._path)]

    def startTime(self):
        return self._start


class _FileInfo:
    def __init__(self, path):
        self._path = path

    def filename(self):
        return self._path


class Version:
    def __init__(self, item):
        self._item = item

    def item(self):
        return self._item


class Clip:
    def __init__(self, source):
        self._source, self._bin_item = source, None

    def mediaSource(self):
        return self._source

    def binItem(self):
        return self._bin_item


class BinItem:
    def __init__(self, clip):
        self.versions = [Version(clip)]
        clip._bin_item = self

    def createClipVersion(self, position, path, **knobs):
        if position != -1 and not 0 <= position <= len(self.versions):
            raise RuntimeError("no such position")
        self.versions.append(Version(Clip(MediaSource(path.split(" ")[0]))))
        return self.versions[-1]


class Bin:
    def __init__(self):
        self._items = []

    def addItem(self, item):
        if not isinstance(item, BinItem):
            raise TypeError("addItem takes a BinItem")
        self._items.append(item)

    def items(self):
        return tuple(self._items)


class Project:
    def __init__(self):
        self._bin, self.undo, self._open = Bin(), [], None

    def clipsBin(self):
        return self._bin

    def beginUndo(self, name):
        if self._open is not None:
            raise RuntimeError("an undo group is open")
        self._open = name

    def endUndo(self):
        self.undo.append(self._open)
        self._open = None


class TrackItem:
    def __init__(self, name):
        self._name, self._source, self._times, self._version = name, None, None, None

    def name(self):
        return self._name

    def setSource(self, clip):
        if not isinstance(clip, Clip):
            raise TypeError("setSource takes a Clip")
        self._source = clip
        return clip

    def source(self):
        return self._source

    def setTimes(self, timeline_in, timeline_out, source_in, source_out):
        if timeline_out - timeline_in != source_out - source_in or timeline_out < timeline_in:
            raise RuntimeError("times that would retime the clip")
        self._times = timeline_in, timeline_out, source_in, source_out

    def playbackSpeed(self):
        return getattr(self, "_speed", 1.0)

    def timelineIn(self):
        return self._times[0]

    def timelineOut(self):
        return self._times[1]

    def sourceIn(self):
        return self._times[2]

    def sourceOut(self):
        return self._times[3]

    def setCurrentVersion(self, version):
        if not isinstance(version, Version):
            raise TypeError("setCurrentVersion takes a Version")
        self._version = version

    def currentVersion(self):
        return self._version


class VideoTrack:
    def __init__(self, name):
        self._name, self._items = name, []

    def name(self):
        return self._name

    def items(self):
        return tuple(self._items)

    def createTrackItem(self, name):
        return TrackItem(name)

    def addTrackItem(self, item):
        if item._source is None or item._times is None:
            raise RuntimeError("a track item without source or times")
        if any(other.timelineIn() <= item.timelineOut() and other.timelineOut() >= item.timelineIn() for other in self._items):
            raise RuntimeError("track items overlap")
        self._items.append(item)
        return item


class Sequence:
    def __init__(self, name):
        self._name, self._tracks, self._project = name, [], Project()

    def name(self):
        return self._name

    def project(self):
        return self._project

    def videoTracks(self):
        return tuple(self._tracks)

    def addTrack(self, track):
        if track in self._tracks:
            raise RuntimeError("the track is there already")
        self._tracks.append(track)
